//! How far a search must look to find what is there, measured: some of the graph's own vectors are looked for by way of the links and by comparing everything,
//! with more and more nodes in sight, until enough is found.
//!
//! A vector of the graph is easier to find than one that is not, so more is asked here than is promised.

use super::Graph;

/// Neighbours that are looked for.
const COUNT: usize = 10;
/// Vectors that are looked for.
const SAMPLES: u32 = 48;
/// Of all their neighbours, this share must be found: 0.95 is promised.
const RECALL_MIN: f64 = 0.98;
/// Nodes in sight, of which the first that suffices is taken.
const BEAMS: [usize; 8] = [64, 96, 144, 216, 324, 512, 768, 1152];
/// Below this, everything is compared: that takes less than a millisecond.
const FEW: u32 = 2_000;
/// Before anything is measured.
const UNMEASURED: usize = 256;

/// What was measured last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reach {
    /// How many nodes were linked then; 0: never.
    linked: u32,
    /// None: comparing everything is no worse.
    beam: Option<usize>,
}

/// A measurement under way: one sample after the other, so that nobody waits for all of it.
pub struct Survey {
    linked: u32,
    /// Samples looked at.
    taken: u32,
    /// Neighbours that there were.
    wanted: usize,
    /// Those that were found, with each of the beams.
    found: [usize; BEAMS.len()],
}

impl Graph {
    /// Nodes to keep in sight for the `count` nearest. None: everything should be compared.
    pub(super) fn reach_of(&self, count: usize) -> Option<usize> {
        if self.linked < FEW {
            return None;
        }
        let beam = match self.reach.linked {
            0 => UNMEASURED,
            _ => self.reach.beam?,
        };
        // What is asked for beyond what was measured is found as surely with as many more in sight.
        Some(beam + 2 * count.saturating_sub(COUNT))
    }

    /// Nodes in sight of a search for ten; None: everything is compared.
    pub fn beam(&self) -> Option<usize> {
        self.reach_of(COUNT)
    }

    /// A measurement, if the graph has grown by half since the last one.
    pub fn survey(&self) -> Option<Survey> {
        let is_due = self.linked >= FEW && self.linked / 3 * 2 >= self.reach.linked;
        is_due.then_some(Survey {
            linked: self.linked,
            taken: 0,
            wanted: 0,
            found: [0; BEAMS.len()],
        })
    }

    /// Looks at the next sample, which takes as long as comparing everything once or twice. Whether there was one.
    pub fn look(&self, survey: &mut Survey) -> bool {
        if survey.taken == SAMPLES || survey.linked > self.linked {
            return false;
        }
        let node = survey.taken * (survey.linked / SAMPLES);
        let is_other = |other: u32| other != node && other < self.linked;
        let exact = self.compare_all(self.vector(node), COUNT, &is_other);
        survey.wanted += exact.len();
        for (found, beam) in survey.found.iter_mut().zip(BEAMS) {
            // None: so far a way that comparing everything is shorter.
            let near = self.by_links(&self.query_of(node), beam, &is_other);
            let near = near.iter().flatten().take(COUNT);
            *found += near.filter(|near| exact.contains(near)).count();
        }
        survey.taken += 1;
        true
    }

    /// Looks as far as was measured, from now on.
    pub fn calibrate(&mut self, survey: &Survey) {
        let enough = RECALL_MIN * survey.wanted as f64;
        let mut beams = survey.found.iter().zip(BEAMS);
        self.reach = Reach {
            linked: survey.linked,
            beam: beams
                .find(|(found, _)| **found as f64 >= enough)
                .map(|(_, beam)| beam),
        };
    }
}
