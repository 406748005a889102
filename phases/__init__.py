"""What each --phase does: `run(options)` in the module that options.phases names."""
