import { z } from 'zod';
import { dnsLabel } from './dns-names.ts';

/**
 * The Kubernetes core/v1 parts that KServe's kinds inline. Field names are those of the API, so that a typing
 * error in a manifest is refused; fields that Muster hands on unread stay `unknown`.
 */
export const EnvVar = z.strictObject({
  name: z.string().min(1),
  value: z.string().optional(),
  valueFrom: z.unknown().optional(),
});

const Quantities = z.record(z.string(), z.union([z.string(), z.number()]));
export const Resources = z.strictObject({
  limits: Quantities.optional(),
  requests: Quantities.optional(),
  claims: z.array(z.unknown()).optional(),
});

const Port = z.strictObject({
  containerPort: z.int().min(1).max(65535),
  name: z.string().optional(),
  protocol: z.string().optional(),
  hostPort: z.int().optional(),
  hostIP: z.string().optional(),
});

export const Probe = z.strictObject({
  httpGet: z
    .strictObject({
      path: z.string().optional(),
      /** KServe's CRD does not ask for it, unlike Kubernetes: its samples leave it out. */
      port: z.union([z.int(), z.string()]).optional(),
      host: z.string().optional(),
      scheme: z.string().optional(),
      httpHeaders: z.array(z.unknown()).optional(),
    })
    .optional(),
  tcpSocket: z.unknown().optional(),
  exec: z.unknown().optional(),
  grpc: z.unknown().optional(),
  initialDelaySeconds: z.int().optional(),
  timeoutSeconds: z.int().optional(),
  periodSeconds: z.int().optional(),
  successThreshold: z.int().optional(),
  failureThreshold: z.int().optional(),
  terminationGracePeriodSeconds: z.int().optional(),
});

/** core/v1 Container; `name` is optional, since KServe's inlined containers leave it out. */
export const containerShape = {
  name: z.string().optional(),
  image: z.string().optional(),
  command: z.array(z.string()).optional(),
  args: z.array(z.string()).optional(),
  env: z.array(EnvVar).optional(),
  envFrom: z.array(z.unknown()).optional(),
  imagePullPolicy: z.string().optional(),
  lifecycle: z.unknown().optional(),
  livenessProbe: Probe.optional(),
  ports: z.array(Port).optional(),
  readinessProbe: Probe.optional(),
  resizePolicy: z.array(z.unknown()).optional(),
  resources: Resources.optional(),
  restartPolicy: z.string().optional(),
  securityContext: z.unknown().optional(),
  startupProbe: Probe.optional(),
  stdin: z.boolean().optional(),
  stdinOnce: z.boolean().optional(),
  terminationMessagePath: z.string().optional(),
  terminationMessagePolicy: z.string().optional(),
  tty: z.boolean().optional(),
  volumeDevices: z.array(z.unknown()).optional(),
  volumeMounts: z.array(z.unknown()).optional(),
  workingDir: z.string().optional(),
};
export const Container = z.strictObject(containerShape);
export type Container = z.infer<typeof Container>;

/** core/v1 PodSpec, without `containers`, which each user of it states. */
export const podShape = {
  activeDeadlineSeconds: z.int().optional(),
  affinity: z.unknown().optional(),
  automountServiceAccountToken: z.boolean().optional(),
  dnsConfig: z.unknown().optional(),
  dnsPolicy: z.string().optional(),
  enableServiceLinks: z.boolean().optional(),
  ephemeralContainers: z.array(z.unknown()).optional(),
  hostAliases: z.array(z.unknown()).optional(),
  hostIPC: z.boolean().optional(),
  hostNetwork: z.boolean().optional(),
  hostPID: z.boolean().optional(),
  hostUsers: z.boolean().optional(),
  hostname: z.string().optional(),
  imagePullSecrets: z.array(z.unknown()).optional(),
  initContainers: z.array(Container).optional(),
  nodeName: z.string().optional(),
  nodeSelector: z.record(z.string(), z.string()).optional(),
  os: z.unknown().optional(),
  overhead: z.unknown().optional(),
  preemptionPolicy: z.string().optional(),
  priority: z.int().optional(),
  priorityClassName: z.string().optional(),
  readinessGates: z.array(z.unknown()).optional(),
  resourceClaims: z.array(z.unknown()).optional(),
  resources: z.unknown().optional(),
  restartPolicy: z.string().optional(),
  runtimeClassName: z.string().optional(),
  schedulerName: z.string().optional(),
  schedulingGates: z.array(z.unknown()).optional(),
  securityContext: z.unknown().optional(),
  serviceAccount: z.string().optional(),
  serviceAccountName: z.string().optional(),
  setHostnameAsFQDN: z.boolean().optional(),
  shareProcessNamespace: z.boolean().optional(),
  subdomain: z.string().optional(),
  terminationGracePeriodSeconds: z.int().optional(),
  tolerations: z.array(z.unknown()).optional(),
  topologySpreadConstraints: z.array(z.unknown()).optional(),
  volumes: z.array(z.unknown()).optional(),
};

export const Metadata = z.looseObject({
  name: z.string().min(1).max(63),
  namespace: z.string().regex(dnsLabel, 'a namespace is a DNS label').max(63).optional(),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
  generation: z.int().optional(),
  resourceVersion: z.string().optional(),
  uid: z.string().optional(),
  creationTimestamp: z.string().optional(),
});
export type Metadata = z.infer<typeof Metadata>;
