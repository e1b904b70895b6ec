//! An HTTP server on hyper and tokio as they were published for WasmEdge: a core module that imports WasmEdge's
//! socket functions. It listens on port 8080, or on that of the environment's PORT, and answers
//!
//! - `GET /` with a line,
//! - `POST /echo` with the request's body, piece by piece as it arrives,
//! - `POST /upper` with the body in capitals, once it has arrived whole,
//! - anything else with 404.

use std::env;
use std::net::SocketAddr;

use hyper::server::conn::Http;
use hyper::service::service_fn;
use hyper::{body, Body, Method, Request, Response, StatusCode};
use tokio::net::TcpListener;

const GREETING: &str = "Send a body to /echo with POST\n";

async fn answer(request: Request<Body>) -> Result<Response<Body>, hyper::Error> {
    let response = match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => Response::new(Body::from(GREETING)),
        (&Method::POST, "/echo") => Response::new(request.into_body()),
        (&Method::POST, "/upper") => {
            let body = body::to_bytes(request.into_body()).await?;
            Response::new(Body::from(body.to_ascii_uppercase()))
        }
        _ => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    };
    Ok(response)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port = match env::var("PORT") {
        Ok(port) => port.parse().expect("PORT is a number below 65536"),
        Err(_) => 8080,
    };
    let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).await?;
    println!("listening on port {port}");
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = Http::new().serve_connection(stream, service_fn(answer)).await {
                eprintln!("a connection ended early: {error}");
            }
        });
    }
}
