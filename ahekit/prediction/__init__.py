"""Photos to a survey: what each shows, how sure that is, and what is done with it."""
