//! Several containers at once: `--regex`, and their ids for a shell's completion.

use super::stored::store;
use super::{Context, Error};
use crate::state::StateError;
use crate::sys::regex::Regex;

/// The ids of all containers; none where there never was one.
pub fn ids(context: &Context<'_>) -> Result<Vec<String>, Error> {
    match store(context).list() {
        Err(StateError::NoRoot { .. }) => Ok(Vec::new()),
        listed => Ok(listed?),
    }
}

/// Does something to each container whose id an extended regular expression is found in, as crun. What fails with
/// one is told to `failed`, and the others have their turn all the same.
pub fn each_matching(
    context: &Context<'_>,
    expression: &str,
    act: impl Fn(&str) -> Result<(), Error>,
    failed: impl Fn(Error),
) -> Result<(), Error> {
    let regex = Regex::new(expression).map_err(|problem| Error::Regex {
        expression: expression.to_owned(),
        problem,
    })?;
    for id in ids(context)?.iter().filter(|id| regex.is_found_in(id)) {
        if let Err(error) = act(id) {
            failed(error);
        }
    }
    Ok(())
}
