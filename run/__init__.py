"""What a run is: its config, and later its folder, checkpoints, features and results."""
