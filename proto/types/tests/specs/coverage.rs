//! What of the language has a case among the wrong specs.
