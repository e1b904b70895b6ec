//! A server on tokio as it was published for WasmEdge. On port 7000, or on that of the environment's PORT, it sends
//! back what comes, over many connections at once; meanwhile a timer ticks. The line `quit` ends it, and it says how
//! much it has served. (This tokio has no UDP.)
//!
//! With the arguments `client ADDRESS N` it opens N connections at once instead, sends a line of its own over each,
//! and says how many came back as they were.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use std::{env, io};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let words: Vec<_> = env::args().skip(1).collect();
    match &words[..] {
        [] => LocalSet::new().run_until(serve()).await,
        [client, address, count] if client == "client" => {
            let count = count.parse().map_err(io::Error::other)?;
            ask(address.parse().map_err(io::Error::other)?, count).await
        }
        _ => Err(io::Error::other("the arguments are: client ADDRESS N")),
    }
}

/// What has been served.
#[derive(Default)]
struct Served {
    connections: Cell<u32>,
    ticks: Cell<u32>,
    quit: Notify,
}

fn add_one(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

async fn serve() -> io::Result<()> {
    let port = env::var("PORT")
        .map_or(Ok(7000), |port| port.parse())
        .map_err(io::Error::other)?;
    let address = SocketAddr::from(([0, 0, 0, 0], port));
    let listener = TcpListener::bind(address).await?;
    println!("serving on port {port}");
    let served = Rc::new(Served::default());
    tokio::task::spawn_local(tick(served.clone()));
    loop {
        tokio::select! {
            connection = listener.accept() => {
                let (stream, _) = connection?;
                add_one(&served.connections);
                tokio::task::spawn_local(send_back(stream, served.clone()));
            }
            () = served.quit.notified() => break,
        }
    }
    let ticked = if served.ticks.get() > 0 {
        "came"
    } else {
        "did not come"
    };
    println!("served {} connections, ticks {ticked}", served.connections.get());
    Ok(())
}

async fn tick(served: Rc<Served>) {
    let mut interval = time::interval(Duration::from_millis(10));
    interval.tick().await; // The first comes at once.
    loop {
        interval.tick().await;
        add_one(&served.ticks);
    }
}

async fn send_back(stream: TcpStream, served: Rc<Served>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    while read.read_until(b'\n', &mut line).await? > 0 {
        write.write_all(&line).await?;
        if line == b"quit\n" {
            served.quit.notify_one();
        }
        line.clear();
    }
    write.shutdown().await
}

async fn ask(address: SocketAddr, count: usize) -> io::Result<()> {
    let tasks: Vec<_> = (0..count)
        .map(|number| tokio::spawn(ask_once(address, number)))
        .collect();
    let mut right = 0;
    for task in tasks {
        right += u32::from(task.await.map_err(io::Error::other)??);
    }
    println!("{right} of {count} came back");
    Ok(())
}

async fn ask_once(address: SocketAddr, number: usize) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let line = format!("line {number}\n");
    stream.write_all(line.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    time::timeout(Duration::from_secs(20), stream.read_to_string(&mut answer))
        .await
        .map_err(io::Error::other)??;
    Ok(answer == line)
}
