"""The verb `check`: reading a data set whole, and its report."""
