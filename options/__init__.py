"""What the command line can say: options, the phases that take them, and checks that need no PyTorch."""
