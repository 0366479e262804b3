"""Coverage-guided fuzzing of what is compiled, under AddressSanitizer and UndefinedBehaviorSanitizer."""
