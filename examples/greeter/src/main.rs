//! `greeter serve ADDRESS` and `greeter greet ADDRESS NAME`.

use std::env;
use std::error::Error;
use std::net::SocketAddr;

use greeter::greet::GreetRequest;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", address] => {
            let listener = TcpListener::bind(address).await?;
            greeter::run_server(listener, async {
                tokio::signal::ctrl_c().await.expect("Ctrl-C can be caught")
            })
            .await;
        }
        ["greet", address, name] => {
            let client = greeter::client(address.parse::<SocketAddr>()?);
            let request = GreetRequest {
                name: name.to_owned(),
                diary: None,
            };
            println!("{}", client.greet(request).await?.into_message().greeting);
        }
        _ => return Err("usage: greeter serve ADDRESS | greeter greet ADDRESS NAME".into()),
    }
    Ok(())
}
