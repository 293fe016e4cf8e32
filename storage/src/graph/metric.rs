//! How far vectors are from each other, in the senses of Cassandra's similarity functions: the order is theirs, the numbers are not.

/// By what vectors are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// The angle between them.
    Cosine,
    /// The distance of their ends.
    Euclidean,
    /// Their product: longer ones are nearer.
    DotProduct,
}

/// Sums that are added up side by side: as many as wide registers hold, so that the compiler fills them.
const LANES: usize = 16;

/// What is looked for.
pub(super) struct Query<'a> {
    pub(super) vector: &'a [f32],
    /// One by its length, where angles count.
    pub(super) scale: f32,
}

impl<'a> Query<'a> {
    pub(super) fn new(metric: Metric, vector: &'a [f32]) -> Query<'a> {
        let scale = match metric {
            Metric::Cosine => inverse_norm(vector),
            Metric::Euclidean | Metric::DotProduct => 1.0,
        };
        Query { vector, scale }
    }
}

/// Less is nearer. `scale`: the product of both inverse lengths.
pub(super) fn distance(metric: Metric, left: &[f32], right: &[f32], scale: f32) -> f32 {
    match metric {
        Metric::Cosine => 1.0 - dot(left, right) * scale,
        Metric::DotProduct => -dot(left, right),
        Metric::Euclidean => sum(left, right, |a, b| (a - b) * (a - b)),
    }
}

/// One by the length of a vector; 0 if it has none that a number can tell.
pub(super) fn inverse_norm(vector: &[f32]) -> f32 {
    let squares: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    match squares.sqrt().recip() as f32 {
        inverse if inverse.is_finite() => inverse,
        _ => 0.0,
    }
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    sum(left, right, |a, b| a * b)
}

fn sum(left: &[f32], right: &[f32], each: impl Fn(f32, f32) -> f32) -> f32 {
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (left, right) in left.iter().zip(right) {
        for ((lane, a), b) in lanes.iter_mut().zip(left).zip(right) {
            *lane += each(*a, *b);
        }
    }
    let rest = left_rest.iter().zip(right_rest);
    lanes.iter().sum::<f32>() + rest.map(|(a, b)| each(*a, *b)).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_puts_the_nearest_first() {
        let vector = |x: f32, y: f32| {
            let mut vector = vec![0.0; 19];
            (vector[0], vector[18]) = (x, y);
            vector
        };
        let near = |metric, left: &[f32], right: &[f32]| {
            let scale = inverse_norm(left) * inverse_norm(right);
            distance(metric, left, right, scale)
        };
        let query = vector(2.0, 0.0);
        let (same_way, close, long) = (vector(9.0, 0.1), vector(2.0, 1.0), vector(20.0, 20.0));
        let order = |metric| {
            let mut all = [("way", &same_way), ("close", &close), ("long", &long)];
            all.sort_by(|a, b| near(metric, &query, a.1).total_cmp(&near(metric, &query, b.1)));
            all.map(|(name, _)| name)
        };
        assert_eq!(order(Metric::Cosine), ["way", "close", "long"]);
        assert_eq!(order(Metric::Euclidean), ["close", "way", "long"]);
        assert_eq!(order(Metric::DotProduct), ["long", "way", "close"]);
    }

    #[test]
    fn a_length_that_no_number_tells_is_none() {
        assert_eq!(inverse_norm(&[0.0; 4]), 0.0);
        assert_eq!(inverse_norm(&[f32::NAN, 1.0]), 0.0);
        assert!(inverse_norm(&[1e30; 4]) > 0.0);
    }
}
