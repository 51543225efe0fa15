/** Where a server is: its scheme, host and port, without a path; grpc and grpcs for one that speaks gRPC V2 alone. */
export const endpointAddress = /^(https?|grpcs?):\/\/[^/\s]+$/;
