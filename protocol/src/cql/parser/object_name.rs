//! Names of Java's managed beans, `domain:key=value,...`, as GRANT and its kin take them: checked, and in the one order that Java gives them.
//!
//! A name is a pattern where `*` or `?` stands in its domain or in a value, or `*` for more keys.

use std::collections::HashSet;

use super::{Result, Trouble};

/// The name in Java's order; in the plural form it has to be a pattern.
pub(super) fn canonical(text: String, is_plural: bool) -> Result<String> {
    let sentence = |text: String| Err(Trouble::Sentence(text));
    match text.as_str() {
        "" => return sentence("Empty JMX object name supplied".into()),
        "*:*" => return sentence("Please use ALL MBEANS instead of wildcard pattern".into()),
        _ => {}
    }
    match parts(&text) {
        None => sentence(format!("{text} is not a valid JMX object name")),
        Some(name) if is_plural && !name.is_pattern() => sentence(format!(
            "Plural form used, but non-pattern JMX object name specified ({text})"
        )),
        Some(name) => Ok(name.in_order()),
    }
}

struct ObjectName<'a> {
    domain: &'a str,
    properties: Vec<(&'a str, &'a str)>,
    has_more: bool,
}

impl ObjectName<'_> {
    fn is_pattern(&self) -> bool {
        let is_wild = |text: &str| text.contains(['*', '?']);
        self.has_more
            || is_wild(self.domain)
            || self.properties.iter().any(|(_, value)| is_wild(value))
    }

    fn in_order(mut self) -> String {
        self.properties.sort();
        let properties = self.properties.iter();
        let properties = properties.map(|(key, value)| format!("{key}={value}"));
        let more = self.has_more.then(|| "*".to_owned());
        let list: Vec<String> = properties.chain(more).collect();
        format!("{}:{}", self.domain, list.join(","))
    }
}

fn parts(text: &str) -> Option<ObjectName<'_>> {
    let (domain, mut rest) = text.split_once(':')?;
    let mut name = ObjectName {
        domain,
        properties: Vec::new(),
        has_more: false,
    };
    let mut known = HashSet::new();
    loop {
        if let Some(after) = rest.strip_prefix('*')
            && !name.has_more
        {
            name.has_more = true;
            rest = after;
        } else {
            let (key, after) = rest.split_once('=')?;
            let is_odd = key.is_empty() || key.contains([':', ',', '*', '?', '\n']);
            if is_odd || !known.insert(key) {
                return None;
            }
            let (value, after) = after.split_at(value_bytes(after)?);
            name.properties.push((key, value));
            rest = after;
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return (rest.is_empty() && !domain.contains('\n')).then_some(name),
        }
    }
}

/// Bytes of the value that a text begins with; one in quotes may hold anything, with `\` before what has a meaning.
fn value_bytes(text: &str) -> Option<usize> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', '=', ':', '"', '\n']).unwrap_or(text.len());
        return matches!(text[end..].chars().next(), None | Some(',')).then_some(end);
    };
    let mut is_escaped = false;
    for (place, one) in quoted.char_indices() {
        match one {
            '\n' => return None,
            '"' if !is_escaped => return Some(place + 2),
            _ => is_escaped = one == '\\' && !is_escaped,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, is_plural: bool) -> Option<String> {
        canonical(text.to_owned(), is_plural).ok()
    }

    #[test]
    fn many_keys_are_read_in_one_walk() {
        let keys: Vec<String> = (0..500_000).map(|key| format!("k{key:06}=")).collect();
        let text = format!("a:{}", keys.join(","));
        assert_eq!(read(&text, false).as_deref(), Some(&*text));
        assert_eq!(read(&format!("{text},k000000="), false), None);
    }

    #[test]
    fn keys_are_put_in_order() {
        for (text, name) in [
            ("java.lang:type=Memory", "java.lang:type=Memory"),
            ("a:z=1,b=\"x,\\\"=\",*", "a:b=\"x,\\\"=\",z=1,*"),
            ("a:b=", "a:b="),
            (":b=c", ":b=c"),
        ] {
            assert_eq!(read(text, false).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "*:*",
            "x",
            "x*",
            "a:",
            "a:b",
            "a:b=c,",
            "a:=c",
            "a:b=c,b=d",
            "a:b=c=d",
            "a:b=\"c",
            "a:b=\"c\"d",
            "a:*b=c",
            "a:*,*",
        ] {
            assert_eq!(read(text, false), None, "{text}");
        }
    }

    #[test]
    fn the_plural_wants_a_pattern() {
        assert_eq!(read("a:b=c", true), None);
        for pattern in ["a*:b=c", "a:b=c?", "a:b=c,*", "a:*"] {
            assert!(read(pattern, true).is_some(), "{pattern}");
        }
    }
}
