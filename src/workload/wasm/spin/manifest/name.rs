//! Names that a manifest gives: of components, variables and stores. Each consists of words, and of one character
//! between them.

/// `my-component`: words of one case each.
pub fn component(name: &str) -> Result<(), String> {
    words(name, '-', '_', false)
}

/// `my_variable`: words in lower case.
pub fn variable(name: &str) -> Result<(), String> {
    words(name, '_', '-', true)
}

/// Of a store or database: as one or the other of the above.
pub fn label(name: &str) -> Result<(), String> {
    if name.contains('_') {
        words(name, '_', '-', false)
    } else {
        words(name, '-', '_', false)
    }
}

fn words(name: &str, between: char, wrong: char, lower: bool) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name must not be empty".to_owned());
    }
    if name.contains(wrong) {
        return Err(format!(
            "words of a name are separated by `{between}` here, not by `{wrong}`"
        ));
    }
    for word in name.split(between) {
        let is_upper = word.starts_with(|c: char| c.is_ascii_uppercase());
        let fits =
            |c: char| c.is_ascii_digit() || (c.is_ascii_alphabetic() && c.is_ascii_uppercase() == is_upper);
        if !word.starts_with(|c: char| c.is_ascii_alphabetic()) || !word.chars().all(fits) {
            return Err(format!(
                "the words of a name start with a letter and consist of letters of one case and digits; {word:?} \
                 does not"
            ));
        }
        if lower && is_upper {
            return Err(format!("must be in lower case; {word:?} is not"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_have_hyphens_and_variables_underscores() {
        for name in ["a", "my-component", "API-v2", "x1"] {
            assert_eq!(component(name), Ok(()), "{name}");
        }
        for name in ["", "-", "my_component", "1a", "a--b", "aB", "a b", "a\u{e9}"] {
            assert!(component(name).is_err(), "{name}");
        }
        for name in ["a", "my_variable", "x1"] {
            assert_eq!(variable(name), Ok(()), "{name}");
        }
        for name in ["", "my-variable", "API", "a__b"] {
            assert!(variable(name).is_err(), "{name}");
        }
        for name in ["default", "my_store", "my-store"] {
            assert_eq!(label(name), Ok(()), "{name}");
        }
        assert!(label("my_store-two").is_err());
    }
}
