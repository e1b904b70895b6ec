//! Requests to others.

use wasip3::http::client;
use wasip3::http::types::{Fields, Request, Response, Scheme};
use wasip3::wit_future;

/// The status and the body of `GET url`, or why there is none.
pub async fn get(url: &str) -> Result<(u16, Vec<u8>), String> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| format!("{url:?} is no URL"))?;
    let path_at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path_at);
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    drop(trailers);
    let (request, _sent) = Request::new(Fields::new(), None, no_trailers, None);
    let set = request.set_scheme(Some(&scheme)).is_ok()
        && request.set_authority(Some(authority)).is_ok()
        && request
            .set_path_with_query(Some(if path.is_empty() { "/" } else { path }))
            .is_ok();
    if !set {
        return Err(format!("{url:?} is no URL"));
    }
    let response = client::send(request)
        .await
        .map_err(|error| format!("{error:?}"))?;
    let status = response.get_status_code();
    let (consumed, done) = wit_future::new(|| Ok(()));
    drop(consumed);
    let (body, _trailers) = Response::consume_body(response, done);
    Ok((status, body.collect().await))
}
