//! The parts of the simulation: who asks when, a world of clients, and a picture of it.

pub(crate) mod chart;
pub(crate) mod rules;
pub(crate) mod world;
