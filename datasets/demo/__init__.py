"""The demo data set: drawn shapes and their sketches."""
