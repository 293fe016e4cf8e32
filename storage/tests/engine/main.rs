//! The whole engine on a simulated disk, its keys taken away and brought back, its files tampered with: each test a story, each world from one seed.

mod anywhere;
mod compression;
mod failed_syncs;
mod faults;
mod large_rows;
mod late;
mod locks;
mod lost;
mod model;
mod periodic;
mod regressions;
mod rewrite;
mod rollback;
mod slow_disk;
mod stores;
mod switch;
mod tamper;
mod threads;
mod world;
