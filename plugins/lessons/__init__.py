"""Lessons: experiments on the ideas behind the tool, on the student's own network."""
