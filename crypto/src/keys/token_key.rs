//! What a key on a PKCS#11 token is called: the path of a PKCS#11 URI (RFC 7512), of which three attributes are understood.
//!
//! ```text
//! pkcs11:token=LABEL;object=NAME      the token's label, and the key's CKA_LABEL
//! pkcs11:token=LABEL;id=%01%02        ... and the key's CKA_ID
//! pkcs11:token=LABEL;object=NAME;id=%01%02
//! ```
//!
//! Values are percent-encoded where they hold spaces, `;`, `?`, `&`, `%` or bytes that are no text. `token` must be there, and at least one of
//! `object` and `id`. Everything else is refused: a name must not carry a PIN, and an attribute that is ignored could name another key.
//!
//! What must hold: no other name becomes a `CmkRef`, in any build, for names are kept, recorded and shown; and a refusal repeats no value, which may be a PIN.

/// Longest name of an attribute that a refusal repeats.
const ATTRIBUTE_BYTES_MAX: usize = 32;
/// Longest label of a token, in bytes: the standard's own field.
const TOKEN_BYTES_MAX: usize = 32;

/// Which key on which token.
#[derive(Clone, Eq, PartialEq, Debug)]
#[cfg_attr(not(feature = "kms-pkcs11"), allow(dead_code))]
pub(crate) struct TokenKey {
    /// The token's label.
    pub token: String,
    /// The key's `CKA_LABEL`.
    pub object: Option<Vec<u8>>,
    /// The key's `CKA_ID`.
    pub id: Option<Vec<u8>>,
    text: String,
}

impl TokenKey {
    /// Reads what follows `pkcs11:`.
    pub fn parse(text: &str) -> Result<TokenKey, String> {
        if text.contains('?') {
            return Err(
                "a key's name ends before '?': module and PIN are settings of the server".into(),
            );
        }
        let (mut token, mut object, mut id) = (None, None, None);
        for (place, attribute) in text.split(';').enumerate() {
            let (name, value) = attribute
                .split_once('=')
                .ok_or_else(|| format!("part {} is not name=value", place + 1))?;
            let place = match name {
                "token" => &mut token,
                "object" => &mut object,
                "id" => &mut id,
                other => {
                    let shown = shown(other).unwrap_or("of another name");
                    return Err(format!(
                        "attribute {shown} is not supported: a key is named by token, object and id"
                    ));
                }
            };
            let value = decoded(value)
                .ok_or_else(|| format!("the value of '{name}' is not percent-encoded"))?;
            if value.is_empty() {
                return Err(format!("attribute '{name}' is empty"));
            }
            if place.replace(value).is_some() {
                return Err(format!("attribute '{name}' stands there twice"));
            }
        }
        if object.is_none() && id.is_none() {
            return Err("neither object nor id names the key".into());
        }
        let token = token.ok_or("no token is named")?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(format!(
                "the label of a token has at most {TOKEN_BYTES_MAX} bytes"
            ));
        }
        Ok(TokenKey {
            token: String::from_utf8(token).map_err(|_| "the label of a token is UTF-8")?,
            object,
            id,
            text: format!("pkcs11:{text}"),
        })
    }

    /// The name as it was typed.
    #[cfg(any(test, feature = "kms-pkcs11"))]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The name of an attribute, if it looks like one.
fn shown(name: &str) -> Option<&str> {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    (name.len() <= ATTRIBUTE_BYTES_MAX && name.bytes().all(is_letter)).then_some(name)
}

fn decoded(value: &str) -> Option<Vec<u8>> {
    let mut bytes = value.bytes();
    let mut decoded = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high << 4 | low).expect("two hexadecimal digits are a byte")
            }
            plain => plain,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_token_and_its_label_or_id() {
        let name = TokenKey::parse("token=my%20token;object=orders%3b1;id=%00%fF").unwrap();
        assert_eq!(name.token, "my token");
        assert_eq!(name.object.as_deref(), Some(&b"orders;1"[..]));
        assert_eq!(name.id.as_deref(), Some(&[0, 0xff][..]));
        assert_eq!(
            name.text(),
            "pkcs11:token=my%20token;object=orders%3b1;id=%00%fF"
        );
        assert_eq!(TokenKey::parse("id=a;token=t").unwrap().object, None);
    }

    #[test]
    fn a_name_that_says_too_little_or_too_much_is_refused() {
        for (text, word) in [
            ("object=a", "no token"),
            ("token=a", "neither"),
            (
                "token=a;object=b;pin-value=1234",
                "pin-value is not supported",
            ),
            ("token=a;object=b;slot-id=1", "slot-id is not supported"),
            ("token=a;object=b;type=secret-key", "type is not supported"),
            ("token=a;object=b?pin-source=file:x", "'?'"),
            ("token=a;object=b;object=c", "twice"),
            ("token=a;object=", "empty"),
            ("token=a;object=%4", "percent"),
            ("token=a;object=%+1", "percent"),
            ("token=a;object", "name=value"),
            ("token=%ff;object=b", "UTF-8"),
            (
                "token=0123456789012345678901234567890123;object=b",
                "at most 32",
            ),
        ] {
            let refusal = TokenKey::parse(text).unwrap_err();
            assert!(refusal.contains(word), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_refusal_repeats_no_pin() {
        for text in [
            "token=a;object=b;pin-value=5678",
            "token=a;object=b?pin-value=5678",
            "token=a;object=b;5678",
            "token=a;object=b;PIN5678=",
            "token=a;object=b;pin5678=x",
            "token=a;object=5678%",
        ] {
            let refusal = TokenKey::parse(text).unwrap_err();
            assert!(!refusal.contains("5678"), "{text}: {refusal}");
        }
    }
}
