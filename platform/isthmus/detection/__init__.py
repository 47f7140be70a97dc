"""What detection is made of: which rate of false alarms it keeps, steps of series, explanations."""
