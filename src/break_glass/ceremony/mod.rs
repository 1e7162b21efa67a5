//! What custodians sign, and the quorum of them. Pure: no disk, no network, no clock.
