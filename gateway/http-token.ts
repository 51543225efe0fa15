/** Names of headers and methods (RFC 9110 section 5.6.2). */
export const httpToken = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Values of headers: no control characters but the tab, none beyond a byte, since U+010A would be cut to a line feed. */
export const httpValue = /^[\t\x20-\x7e\x80-\xff]*$/;
