//! How alike two vectors are, between 0 and 1 for directions, as Cassandra scores them.

use bytes::Bytes;

use super::Function;
use crate::error::{CqlError, CqlResult};

pub(super) fn similarity(function: Function, left: &Bytes, right: &Bytes) -> CqlResult<Bytes> {
    let (left, right) = (floats(left)?, floats(right)?);
    if left.len() != right.len() {
        return Err(CqlError::invalid(
            "All arguments must have the same vector dimensions",
        ));
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let score = match function {
        Function::SimilarityCosine => {
            let is_zero = |vector: &[f32]| vector.iter().all(|each| *each == 0.0);
            if is_zero(&left) || is_zero(&right) {
                return Err(CqlError::invalid(
                    "Function system.similarity_cosine doesn't support all-zero vectors.",
                ));
            }
            let norms = f64::from(dot(&left, &left)) * f64::from(dot(&right, &right));
            let cosine = f64::from(dot(&left, &right)) / norms.sqrt();
            (1.0 + cosine as f32) / 2.0
        }
        Function::SimilarityEuclidean => {
            let distance: f32 = left
                .iter()
                .zip(&right)
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
            1.0 / (1.0 + distance)
        }
        _ => (1.0 + dot(&left, &right)) / 2.0,
    };
    Ok(Bytes::copy_from_slice(&score.to_be_bytes()))
}

fn floats(vector: &[u8]) -> CqlResult<Vec<f32>> {
    let (chunks, rest) = vector.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(CqlError::invalid(
            "A vector of floats has four bytes for each element",
        ));
    }
    Ok(chunks
        .iter()
        .map(|chunk| f32::from_be_bytes(*chunk))
        .collect())
}
