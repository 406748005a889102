"""What --phase=X does: phases/X.py has run(options)."""
