"""The cell as a page in the browser. It only listens: nothing here can move an arm."""
