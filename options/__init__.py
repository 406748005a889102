"""The command line: options, the phases that accept them, and checks that do not import PyTorch."""
