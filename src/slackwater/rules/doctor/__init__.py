"""What the doctor concludes: facts in, findings out."""
