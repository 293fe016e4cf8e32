//! Finding the function that a call means.
//!
//! A name may stand for several functions that differ in what they take. The types that are known decide; where a bind
//! marker has none, every type fits weakly, and the receiver may settle it.

use palladium_protocol::cql::ast::QualifiedName;
use palladium_protocol::types::CqlType;

use super::{Function, Spelled, castable_to, number};
use crate::error::{CqlError, CqlResult};
use crate::schema::{TableSchema, types};

/// A function, what it takes and what it gives.
#[derive(Debug, Clone)]
pub struct Signature {
    pub function: Function,
    pub takes: Vec<CqlType>,
    pub returns: CqlType,
}

fn signature(
    function: Function,
    takes: impl IntoIterator<Item = CqlType>,
    returns: CqlType,
) -> Signature {
    Signature {
        function,
        takes: takes.into_iter().collect(),
        returns,
    }
}

/// The functions of a name, given how many arguments it gets and what is known of their types.
fn candidates(
    name: &str,
    arguments: &[Option<CqlType>],
    receiver: Option<&CqlType>,
    table: Option<&TableSchema>,
    shown: &dyn Fn(usize) -> String,
) -> CqlResult<Vec<Signature>> {
    use CqlType::*;
    let of_receiver = [receiver.cloned(), None];
    let arguments = match (name, arguments) {
        // What replaces what is unknown is of the type that is wanted.
        ("mask_replace", [None, _]) => &of_receiver[..],
        _ => arguments,
    };
    let known = |place: usize| arguments.get(place).cloned().flatten();
    if let Some((least, parameters)) = made_for_arguments(name) {
        if arguments.len() < least || arguments.len() > parameters.len() {
            return Err(CqlError::invalid(format!(
                "Invalid number of arguments for function {}",
                made(name, parameters)
            )));
        }
        for place in 0..arguments.len() {
            check_parameter(name, parameters, place, arguments, shown)?;
        }
    }
    let one_of = |function, takes: &[CqlType], returns: CqlType| {
        takes
            .iter()
            .map(|ty| signature(function, [ty.clone()], returns.clone()))
            .collect()
    };
    let numeric = |function| {
        [
            Tinyint, Smallint, Int, Bigint, Varint, Float, Double, Decimal, Counter,
        ]
        .into_iter()
        .map(|ty| signature(function, [ty.clone()], ty))
        .collect()
    };
    Ok(match name {
        "now" | "currenttimeuuid" | "current_timeuuid" => {
            vec![signature(Function::Now, [], Timeuuid)]
        }
        "currenttimestamp" | "current_timestamp" => {
            vec![signature(Function::CurrentTimestamp, [], Timestamp)]
        }
        "currentdate" | "current_date" => vec![signature(Function::CurrentDate, [], Date)],
        "currenttime" | "current_time" => vec![signature(Function::CurrentTime, [], Time)],
        "uuid" => vec![signature(Function::Uuid, [], Uuid)],
        "mintimeuuid" | "min_timeuuid" => {
            vec![signature(
                Function::MinTimeuuid(Spelled::of(name)),
                [Timestamp],
                Timeuuid,
            )]
        }
        "maxtimeuuid" | "max_timeuuid" => {
            vec![signature(
                Function::MaxTimeuuid(Spelled::of(name)),
                [Timestamp],
                Timeuuid,
            )]
        }
        "totimestamp" | "to_timestamp" => one_of(
            Function::ToTimestamp(Spelled::of(name)),
            &[Timeuuid, Date],
            Timestamp,
        ),
        "todate" | "to_date" => one_of(
            Function::ToDate(Spelled::of(name)),
            &[Timeuuid, Timestamp],
            Date,
        ),
        "tounixtimestamp" | "to_unix_timestamp" => one_of(
            Function::ToUnixTimestamp(Spelled::of(name)),
            &[Timeuuid, Timestamp, Date],
            Bigint,
        ),
        "token" => match table {
            Some(table) => {
                let takes = table
                    .partition_columns()
                    .iter()
                    .map(|column| column.ty.clone());
                vec![signature(Function::Token, takes, Bigint)]
            }
            None => Vec::new(),
        },
        "abs" => numeric(Function::Abs),
        "exp" => numeric(Function::Exp),
        "log" => numeric(Function::Log),
        "log10" => numeric(Function::Log10),
        "round" => numeric(Function::Round),
        "map_keys" => match known(0).as_ref().map(CqlType::bare) {
            Some(Map(key, _)) => {
                let keys = CqlType::Set(key.clone()).frozen();
                vec![signature(Function::MapKeys, known(0), keys)]
            }
            _ => Vec::new(),
        },
        "map_values" => match known(0).as_ref().map(CqlType::bare) {
            Some(Map(_, value)) => {
                let values = CqlType::List(value.clone()).frozen();
                vec![signature(Function::MapValues, known(0), values)]
            }
            _ => Vec::new(),
        },
        "collection_count" => match known(0) {
            Some(ty) if ty.is_collection() => vec![signature(Function::CollectionCount, [ty], Int)],
            _ => Vec::new(),
        },
        "collection_min" | "collection_max" | "collection_sum" | "collection_avg" => {
            let Some(ty) = known(0) else {
                return Ok(Vec::new());
            };
            let (List(element) | CqlType::Set(element)) = ty.bare() else {
                return Ok(Vec::new());
            };
            let function = match name {
                "collection_min" => Function::CollectionMin,
                "collection_max" => Function::CollectionMax,
                "collection_sum" => Function::CollectionSum,
                _ => Function::CollectionAvg,
            };
            vec![signature(function, [ty.clone()], (**element).clone())]
        }
        "mask_default" | "mask_null" | "mask_hash" | "mask_replace" | "mask_inner"
        | "mask_outer" => masks(name, arguments, known(0)),
        "to_json" | "tojson" => match known(0) {
            Some(ty) => vec![signature(Function::ToJson, [ty], Text)],
            None => Vec::new(),
        },
        "from_json" | "fromjson" => match receiver {
            Some(ty) => vec![signature(Function::FromJson, [Text], ty.clone())],
            None => {
                return Err(CqlError::invalid(format!(
                    "{name}() cannot be used in the selection clause of a SELECT statement"
                )));
            }
        },
        "similarity_cosine" | "similarity_euclidean" | "similarity_dot_product" => {
            let function = match name {
                "similarity_cosine" => Function::SimilarityCosine,
                "similarity_euclidean" => Function::SimilarityEuclidean,
                _ => Function::SimilarityDotProduct,
            };
            let dimensions = |place: usize| match known(place)?.bare() {
                CqlType::Vector(_, dimensions) => Some(*dimensions),
                _ => None,
            };
            // A list without elements as a vector.
            if [dimensions(0), dimensions(1)].contains(&Some(0)) {
                return Err(types::not_positive(0));
            }
            if let (Some(left), Some(right)) = (dimensions(0), dimensions(1))
                && left != right
            {
                return Err(CqlError::invalid(
                    "All arguments must have the same vector dimensions",
                ));
            }
            match known(0).or(known(1)) {
                Some(ty) if matches!(ty.bare(), Vector(inner, _) if **inner == Float) => {
                    vec![signature(function, [ty.clone(), ty], Float)]
                }
                _ => Vec::new(),
            }
        }
        "floor" => [
            (Timestamp, Timestamp, false),
            (Timeuuid, Timestamp, false),
            (Timestamp, Timestamp, true),
            (Time, Time, false),
            (Timeuuid, Timestamp, true),
            (Date, Date, false),
            (Date, Date, true),
        ]
        .into_iter()
        .map(|(ty, returns, has_start)| {
            let start = has_start.then(|| returns.clone());
            signature(
                Function::Floor,
                [ty, Duration].into_iter().chain(start),
                returns,
            )
        })
        .collect(),
        _ => blob_conversion(name)
            .into_iter()
            .chain(casts(name))
            .collect(),
    })
}

/// Whether a function is made for the types of its arguments, which have to be known then.
pub fn is_made_for_arguments(name: &str) -> bool {
    made_for_arguments(name).is_some()
}

/// What a function takes that is made for the types of its arguments: a word for each, the later ones optional.
fn made_for_arguments(name: &str) -> Option<(usize, &'static [&'static str])> {
    Some(match name {
        "to_json" | "tojson" | "mask_default" | "mask_null" => (1, &["any"]),
        "from_json" | "fromjson" => (1, &["text"]),
        "mask_hash" => (1, &["any", "[text]"]),
        "mask_replace" => (2, &["any", "any"]),
        "mask_inner" | "mask_outer" => (3, &["[text|varchar|ascii]", "int", "int", "[text]"]),
        "map_keys" | "map_values" => (1, &["map"]),
        "collection_count" => (1, &["collection"]),
        "collection_min" | "collection_max" | "collection_sum" | "collection_avg" => {
            (1, &["numeric_set_or_list"])
        }
        "similarity_cosine" | "similarity_euclidean" | "similarity_dot_product" => {
            (2, &["vector<float, n>", "vector<float, n>"])
        }
        _ => return None,
    })
}

/// Such a function as errors call it.
fn made(name: &str, parameters: &[&str]) -> String {
    format!("system.{name}({})", parameters.join(", "))
}

fn check_parameter(
    name: &str,
    parameters: &[&str],
    place: usize,
    arguments: &[Option<CqlType>],
    shown: &dyn Fn(usize) -> String,
) -> CqlResult<()> {
    let other = match parameters[0] {
        "vector<float, n>" => arguments.iter().flatten().next(),
        _ if name == "mask_replace" => arguments[0].as_ref(),
        _ => None,
    };
    let Some(ty) = arguments[place].as_ref().or(other) else {
        if matches!(
            parameters[place],
            "int" | "[text|varchar|ascii]" | "[text]" | "text"
        ) {
            return Ok(());
        }
        return Err(CqlError::invalid(format!(
            "Cannot infer type of argument {} in call to function {}: use type casts to disambiguate",
            shown(place),
            made(name, parameters)
        )));
    };
    let bare = ty.bare();
    let element = match bare {
        CqlType::List(element) | CqlType::Set(element) => Some(&**element),
        _ => None,
    };
    let wanted = match parameters[place] {
        "collection" if !bare.is_collection() => "a collection argument",
        "map" if !matches!(bare, CqlType::Map(..) | CqlType::Udt(_)) => "a map argument",
        "numeric_set_or_list" if name == "collection_min" || name == "collection_max" => {
            match element {
                None => "a set or list argument",
                Some(_) => return Ok(()),
            }
        }
        "numeric_set_or_list" => match element {
            Some(element) if number::result_type(element, element).is_some() => return Ok(()),
            _ => "a numeric set/list argument",
        },
        "vector<float, n>" => match bare {
            CqlType::Vector(element, _) if **element == CqlType::Float => return Ok(()),
            _ => "a float vector argument",
        },
        "int" if *bare != CqlType::Int => "an argument of type int",
        "[text|varchar|ascii]" if !matches!(bare, CqlType::Text | CqlType::Ascii) => {
            "an argument of type [text|varchar|ascii]"
        }
        "[text]" | "text" if !matches!(bare, CqlType::Text | CqlType::Ascii) => {
            "an argument of type text"
        }
        _ => return Ok(()),
    };
    Err(CqlError::invalid(format!(
        "Function system.{name} requires {wanted}, but found argument {} of type {ty}",
        shown(place)
    )))
}

/// Masking functions take the type of what they mask, and how is told by constants.
fn masks(name: &str, arguments: &[Option<CqlType>], masked: Option<CqlType>) -> Vec<Signature> {
    let text = || match &masked {
        Some(ty) if *ty.bare() == CqlType::Ascii => CqlType::Ascii,
        _ => CqlType::Text,
    };
    let ends = |function| {
        let takes = [text(), CqlType::Int, CqlType::Int, CqlType::Text];
        vec![signature(
            function,
            takes.into_iter().take(arguments.len().clamp(3, 4)),
            text(),
        )]
    };
    match (name, &masked) {
        ("mask_inner", _) => ends(Function::MaskInner),
        ("mask_outer", _) => ends(Function::MaskOuter),
        ("mask_hash", masked) => {
            let takes = [masked.clone().unwrap_or(CqlType::Text), CqlType::Text];
            vec![signature(
                Function::MaskHash,
                takes.into_iter().take(arguments.len().clamp(1, 2)),
                CqlType::Blob,
            )]
        }
        (_, None) => Vec::new(),
        ("mask_default", Some(ty)) => {
            vec![signature(Function::MaskDefault, [ty.clone()], ty.clone())]
        }
        ("mask_null", Some(ty)) => vec![signature(Function::MaskNull, [ty.clone()], ty.clone())],
        (_, Some(ty)) => vec![signature(
            Function::MaskReplace,
            [ty.clone(), ty.clone()],
            ty.clone(),
        )],
    }
}

/// `textAsBlob`, `blob_as_int` and their like.
fn blob_conversion(name: &str) -> Option<Signature> {
    let native = |name: &str| {
        let name = if name == "varchar" { "text" } else { name };
        CqlType::native(name).filter(|ty| *ty != CqlType::Blob)
    };
    if let Some(ty) = name
        .strip_suffix("_as_blob")
        .or(name.strip_suffix("asblob"))
    {
        let function = Function::AsBlob(Spelled::of(name));
        return Some(signature(function, [native(ty)?], CqlType::Blob));
    }
    if let Some(ty) = name
        .strip_prefix("blob_as_")
        .or(name.strip_prefix("blobas"))
    {
        let function = Function::FromBlob(Spelled::of(name));
        return Some(signature(function, [CqlType::Blob], native(ty)?));
    }
    None
}

/// `cast_as_text` and its like: one for each type that can be cast.
fn casts(name: &str) -> Vec<Signature> {
    let to = name.strip_prefix("cast_as_");
    let Some(to) = to.filter(|to| *to != "varchar").and_then(CqlType::native) else {
        return Vec::new();
    };
    let types = castable_to(&to).into_iter();
    types
        .map(|from| signature(Function::Cast, [from], to.clone()))
        .collect()
}

/// Whether a value of one type may stand where the other is wanted without a change of its bytes.
pub fn is_assignable(from: &CqlType, to: &CqlType) -> bool {
    let (from, to) = (from.bare(), to.bare());
    from == to
        || matches!(
            (from, to),
            (CqlType::Ascii, CqlType::Text)
                | (CqlType::Timeuuid, CqlType::Uuid)
                | (
                    CqlType::Bigint,
                    CqlType::Timestamp | CqlType::Time | CqlType::Varint
                )
                | (CqlType::Timestamp, CqlType::Bigint | CqlType::Varint)
                | (CqlType::Int, CqlType::Date | CqlType::Varint)
        )
        || *to == CqlType::Blob
        || match (from, to) {
            (CqlType::List(a), CqlType::List(b)) | (CqlType::Set(a), CqlType::Set(b)) => {
                a.bare() == b.bare()
            }
            (CqlType::Map(a, b), CqlType::Map(c, d)) => {
                a.bare() == c.bare() && b.bare() == d.bare()
            }
            (CqlType::Udt(a), CqlType::Udt(b)) => a.keyspace == b.keyspace && a.name == b.name,
            (CqlType::Tuple(a), CqlType::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| is_assignable(a, b))
            }
            _ => false,
        }
}

/// Whether an argument can be passed where a type is taken: how well it fits, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    No,
    /// After a conversion that costs nothing, or because nothing is known of it.
    Weak,
    Exact,
}

/// A name without the quotes that reading it would take.
pub fn unquoted(name: &QualifiedName) -> String {
    match &name.keyspace {
        Some(keyspace) => format!("{}.{}", keyspace.as_str(), name.name.as_str()),
        None => name.name.as_str().to_owned(),
    }
}

/// The function that a call means: of several, one whose value the receiver takes. `fit` tells how an argument (by its place) fits a type,
/// `shown` how it is written. None: no function of that name.
pub fn resolve(
    called: &QualifiedName,
    arguments: &[Option<CqlType>],
    receiver: Option<&CqlType>,
    table: Option<&TableSchema>,
    shown: &dyn Fn(usize) -> String,
    fit: &dyn Fn(usize, &CqlType) -> CqlResult<Fit>,
) -> CqlResult<Option<Signature>> {
    let name = called.name.as_str();
    let candidates = candidates(name, arguments, receiver, table, shown)?;
    if candidates.is_empty() {
        return Ok(None);
    }
    if let [only] = candidates.as_slice() {
        if only.takes.len() != arguments.len() {
            return Err(CqlError::invalid(format!(
                "Invalid number of arguments in call to function system.{name}: {} required but {} provided",
                only.takes.len(),
                arguments.len()
            )));
        }
        for (place, takes) in only.takes.iter().enumerate() {
            if fit(place, takes)? == Fit::No {
                return Err(CqlError::invalid(format!(
                    "Type error: {} cannot be passed as argument {place} of function system.{name} of type {takes}",
                    shown(place)
                )));
            }
        }
        return Ok(candidates.into_iter().next());
    }
    let mut rated = Vec::new();
    for candidate in &candidates {
        let is_wanted = receiver.is_none_or(|receiver| is_assignable(&candidate.returns, receiver));
        if candidate.takes.len() != arguments.len() || !is_wanted {
            continue;
        }
        let fits = candidate.takes.iter().enumerate();
        let fits: Vec<Fit> = fits
            .map(|(place, ty)| fit(place, ty))
            .collect::<CqlResult<_>>()?;
        if let Some(worst) = fits.into_iter().min().filter(|fit| *fit > Fit::No) {
            rated.push((worst, candidate));
        }
    }
    let best = rated.iter().map(|(fit, _)| *fit).max();
    rated.retain(|(fit, _)| Some(*fit) == best);
    let listed = |candidates: &[&Signature]| {
        let each = candidates.iter().map(|candidate| {
            let takes: Vec<String> = candidate.takes.iter().map(CqlType::to_string).collect();
            format!(
                "system.{name} : ({}) -> {}",
                takes.join(", "),
                candidate.returns
            )
        });
        each.collect::<Vec<_>>().join(", ")
    };
    match rated.as_slice() {
        [] => Err(CqlError::invalid(format!(
            "Invalid call to function {}, none of its type signatures match (known type signatures: {})",
            unquoted(called),
            listed(&candidates.iter().collect::<Vec<_>>())
        ))),
        [(_, only)] => Ok(Some((*only).clone())),
        several => Err(CqlError::invalid(format!(
            "Ambiguous call to function {} (can be matched by following signatures: {}): use type casts to disambiguate",
            unquoted(called),
            listed(&several.iter().map(|(_, one)| *one).collect::<Vec<_>>())
        ))),
    }
}
