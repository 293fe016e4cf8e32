//! The key keeper with a scripted key service and a clock that the test moves: what an owner takes away is gone, what he gives back is there again.

mod denials;
mod grants;
mod leases;
mod lines;
mod openings;
mod siblings;
mod silence;
mod storm;
mod switches;
mod trail;
mod world;
