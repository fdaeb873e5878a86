"""What labeled frames say of each other: which labels cannot be right, and which frames are alike."""
