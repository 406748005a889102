"""What --phase=report writes: the page of one run or of several, and the tables of experiments."""
