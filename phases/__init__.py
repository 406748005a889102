"""What each --phase does: `run(config)` in the module that options.phases names."""
