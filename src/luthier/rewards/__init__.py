"""What an answer is worth: a metric of each example, a weighted sum of several, or a function of the user's own."""
