//! The wire form of STS: a form out, bounded and lenient XML in.
