"""What --phase=export writes: one module per form, and the model card that goes with it."""
