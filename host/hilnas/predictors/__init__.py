"""Predictors of accuracies and costs: from encoded architectures to a mean and a standard deviation."""
