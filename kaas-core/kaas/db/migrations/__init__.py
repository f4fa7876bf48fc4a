"""How the tables came to be, by revisions. They import nothing of ours, since they must stay as they are."""
