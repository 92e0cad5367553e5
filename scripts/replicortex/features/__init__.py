"""Feature extractors: one a file, each turns one preprocessed recording into one bundle, fitting nothing."""
