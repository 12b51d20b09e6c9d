"""Does the plan follow the future that was imagined, or the words?"""
