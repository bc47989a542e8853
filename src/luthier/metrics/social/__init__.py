"""Who is mentioned and beside what, who is answered worse, and what is toxic (Liang et al. 2022, 4.7 and 4.8)."""
