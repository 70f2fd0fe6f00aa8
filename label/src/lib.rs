//! From people to rankings: exports of labelling tools to one table, how far the judges can be believed, and a page to label on.
