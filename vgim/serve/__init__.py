"""The playground: a local web page on which one changes latents, and hears and sees what a decoder makes of them."""
