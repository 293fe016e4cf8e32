//! A vector that waits becomes a node: its neighbours are looked for, chosen, and linked both ways.
//!
//! Of those that are near, one is chosen if it is nearer to the new node than to any chosen before: links lead into all directions, and out of a cluster.

use super::Graph;
use super::search::Found;

/// Levels above 0 at most: one in `links` reaches each next one.
const HEIGHT_MAX: usize = 12;

/// What links the first vector that waits.
pub struct Plan {
    node: u32,
    /// Its neighbours on each level that it reaches, from 0 on.
    levels: Vec<Vec<u32>>,
}

impl Graph {
    /// Looks for the neighbours of the first vector that waits. None: none waits.
    pub fn plan(&self) -> Option<Plan> {
        let node = self.linked;
        if node >= self.len() {
            return None;
        }
        let level = self.level_of(node);
        let mut levels = vec![Vec::new(); level + 1];
        let query = self.query_of(node);
        let lowest_shared = level.min(self.height);
        let mut starts = self.descend(&query, lowest_shared);
        for level in (0..=lowest_shared).rev() {
            if starts.is_empty() {
                break;
            }
            let found =
                self.along_links(&query, &starts, self.shape.beam, level, &|_| true, u32::MAX);
            starts = found.unwrap_or_default();
            levels[level] = self.chosen(&starts, self.shape.links);
        }
        Some(Plan { node, levels })
    }

    /// Carries a plan out, unless it has been already.
    pub fn link(&mut self, plan: Plan) {
        let Plan { node, levels } = plan;
        if node != self.linked || node >= self.len() {
            return;
        }
        let level = levels.len() - 1;
        self.near.push(&[]);
        if level > 0 {
            self.above.insert(node, vec![Vec::new(); level]);
        }
        self.linked = node + 1;
        for (level, neighbours) in levels.into_iter().enumerate() {
            for neighbour in &neighbours {
                self.link_back(*neighbour, node, level);
            }
            self.set_neighbours(node, level, &neighbours);
        }
        if node == 0 || level > self.height {
            self.entry = node;
            self.height = level;
        }
    }

    /// Links the first vector that waits; whether there was one.
    pub fn link_next(&mut self) -> bool {
        let plan = self.plan();
        let is_some = plan.is_some();
        plan.into_iter().for_each(|plan| self.link(plan));
        is_some
    }

    fn link_back(&mut self, from: u32, to: u32, level: usize) {
        let limit = match level {
            0 => 2 * self.shape.links,
            _ => self.shape.links,
        };
        let mut nodes = self.neighbours(from, level).to_vec();
        nodes.push(to);
        if nodes.len() > limit {
            let query = self.query_of(from);
            let mut near: Vec<Found> = nodes
                .iter()
                .map(|node| Found {
                    distance: self.distance(&query, *node),
                    node: *node,
                })
                .collect();
            near.sort();
            nodes = self.chosen(&near, limit);
        }
        self.set_neighbours(from, level, &nodes);
    }

    fn set_neighbours(&mut self, node: u32, level: usize, neighbours: &[u32]) {
        if level == 0 {
            let row = self.near.row_mut(node);
            row[0] = neighbours.len() as u32;
            row[1..=neighbours.len()].copy_from_slice(neighbours);
        } else if let Some(levels) = self.above.get_mut(&node) {
            levels[level - 1] = neighbours.to_vec();
        }
    }

    /// The best of `near`, which are in order.
    fn chosen(&self, near: &[Found], limit: usize) -> Vec<u32> {
        let mut chosen: Vec<u32> = Vec::with_capacity(limit);
        for found in near {
            if chosen.len() == limit {
                break;
            }
            let query = self.query_of(found.node);
            let is_hidden = chosen
                .iter()
                .any(|other| self.distance(&query, *other) < found.distance);
            if !is_hidden {
                chosen.push(found.node);
            }
        }
        chosen
    }

    /// The highest level that a node reaches: drawn by its id, so that the same pushes make the same graph.
    fn level_of(&self, node: u32) -> usize {
        let mut bits = u64::from(node).wrapping_add(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        let chance = ((bits >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        let level = -chance.ln() / (self.shape.links.max(2) as f64).ln();
        (level as usize).min(HEIGHT_MAX)
    }
}
