"""Programs for maintainers and authors of templates; nothing else imports them."""
