"""What the plots of a report show: their captions on the page, which report.json has too."""

DEFINITIONS = {
    "training": "From log/scalars.csv, whose losses and speeds are means since the row before.",
    "precision_recall": "Precision at the rank where so many percent of a query's photos have been found, "
    "mean over queries. That is the rank of the hit number ceil(recall x positives), for recall 0 of the "
    "first hit; not interpolated; photos at equal distance are averaged over all their orders. Chance: the "
    "share of a query's photos in the gallery.",
    "precision_at": "P@K: share of hits among the first K photos, mean over queries; photos at equal "
    "distance are averaged over all their orders. Best possible: if all photos of the query's category came "
    "first. Chance: photos in random order.",
    "per_category_MAP": "MAP of the test sketches of each category, over the whole ranking.",
    "queries": "Test sketches of the highest and of the lowest average precision (AP), one of each category "
    "as long as there are others, and the photos nearest to each.",
    "confusion": "Of the photos nearest to each test sketch of a category (row), ten or all there are, the "
    "percentage that is of each category (column). At equal distance the first in the list is taken.",
    "map": "t-SNE of the features as they are (not mirrored; scaled to unit length if the test is by angle) "
    "of images drawn by the seed. Near points are alike; distances between far groups, and the axes, mean "
    "nothing.",
    "distances": "Distances between test sketches and photos as the test takes them: percent of the pairs "
    "of each kind per bin.",
    "separation": "A dot for each category: the largest Euclidean distance inside it and the smallest to "
    "another one, of features as they are (not mirrored). Above the line the margin "
    "condition holds (docs/metrics.md).",
    "hash": "MAP by Hamming distance between codes; their linear map is fitted on the class centres alone. "
    "Mean over fits with several seeds.",
    "gates": "Absolute change of the gates of a module, each between 0 and 1, when the domain bit alone is "
    "flipped, mean over channels and images: in the whole network, or in this module alone with its input "
    "as it is.",
    "offset": "What the domain bit of a photo adds to the logits of a module's gates, the column W2[:, -1]: "
    "median over channels, and the range of the middle 90 percent.",
    "wrong_bit": "MAP of the same test sketches embedded with their own domain bit (0) and with that of "
    "photos (1); the gallery stays as it is.",
}
