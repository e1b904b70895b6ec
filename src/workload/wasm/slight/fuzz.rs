//! What must hold of a slightfile; see [`fuzz`](crate::workload::wasm::fuzz).

use super::read;
use super::slightfile::Slightfile;
use crate::workload::wasm::fuzz::{Place, see_refusal};

/// Reads the application in the place's root, twice.
pub fn application(place: &Place) {
    if let Some(first) = loaded(place) {
        assert_eq!(loaded(place), Some(first), "it is read in another way");
    }
}

/// What an application is, once it is read.
fn loaded(place: &Place) -> Option<String> {
    place.within("root", |surroundings| match read(surroundings) {
        Ok((application, sources)) => {
            let text = std::fs::read_to_string(place.path("root/slightfile.toml")).expect("it was read");
            let slightfile = Slightfile::parse(&text).expect("it was read");
            assert_eq!(slightfile.serves(), application.serves);
            assert_eq!(sources.len(), 1);
            Some(format!("{slightfile:?} {:?}", application.kinds))
        }
        Err(error) => {
            see_refusal(&error, &["/slightfile.toml: "]);
            None
        }
    })
}
