"""What --phase=serve is made of: a gate, a page, and its answers."""
