"""Writers: a survey's rows in the form that other software reads."""
