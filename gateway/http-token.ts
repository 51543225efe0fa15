/** Names of headers and methods (RFC 9110 section 5.6.2). */
export const httpToken = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
