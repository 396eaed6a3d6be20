"""Schema changes: judge, change the passive, switch over, change the other, and the way back."""
