//! One use of the glass on one page: from the signed request to the sealed credentials, then its review.
