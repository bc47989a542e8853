"""Tasks of lm-eval in this process: its classes make the requests and judge the answers, our engine answers them."""
